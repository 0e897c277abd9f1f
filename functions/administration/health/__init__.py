"""What health-check and performance-monitor measure, and how the operators are paged without the database."""
