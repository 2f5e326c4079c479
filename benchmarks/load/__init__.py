"""Parts of the serving benchmark: servers to start, arrivals to make, peers to compare with."""
