"""What a night's backup does, part by part: begin a snapshot, export all tables, read them back, let old ones go."""
