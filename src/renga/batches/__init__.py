"""Message Batches: many requests taken in at once, worked on when there is room, at half price."""
