"""What a results folder answers: one object that page, terminal and programs show alike."""
