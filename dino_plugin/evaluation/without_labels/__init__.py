"""What features say without any label."""
