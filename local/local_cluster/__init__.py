"""The whole cluster on one machine: what `make up` starts and the tests meet."""
