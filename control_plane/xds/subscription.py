"""What one stream knows of one resource type."""
