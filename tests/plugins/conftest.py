"""The project of somebody else is installed and tested by test_third_party.py, not collected."""

collect_ignore = ["third_party"]
