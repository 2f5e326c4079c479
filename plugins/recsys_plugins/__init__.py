"""First-party plugins, one file each; loaded by entry point exactly as third-party ones."""
