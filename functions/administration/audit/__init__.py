"""The archive of the audit log in the file store."""
