"""From a request to a ranked list: sources, filters, matrix, scores, rules, top k."""
