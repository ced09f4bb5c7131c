"""Relay: mails of users leave by a smarthost, mended and signed."""
