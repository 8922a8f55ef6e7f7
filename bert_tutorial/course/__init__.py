"""What only the notebooks need. Nothing else imports it."""
