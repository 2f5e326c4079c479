"""For tests of the engine and of plugins: small worlds with a known answer, and the contract."""
