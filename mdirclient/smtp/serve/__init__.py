"""The SMTP server: connections, their mails, and what of them is stored."""
