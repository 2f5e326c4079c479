"""Versioned, verified folders of everything that serves: publish, open, activate, roll back."""
