"""What the SMTP server did: daily totals, and reports of them that are published as messages."""
