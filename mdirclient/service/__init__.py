"""What every daemon needs: addresses, TLS, the service manager, a log."""
