"""The SMTP connector: a thin consumer of mdirclient's public names."""
