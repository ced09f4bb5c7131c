"""The outbox: the only queue of mails that are to be sent, and its sender (docs: howto/outbox)."""
