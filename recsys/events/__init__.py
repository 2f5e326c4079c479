"""The behaviour log: how events are read, checked, stored, spooled, merged and copied out."""
