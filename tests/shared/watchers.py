"""Watchers of runs that say nothing, or stop a run."""


class Silent:
    """A watcher that says nothing."""

    def __getattr__(self, name):
        return lambda *arguments: None


class Stops(Silent):
    """A watcher that keeps the records, and stops the run after a number of them."""

    def __init__(self, most=None):
        self.most, self.written = most, []

    def result_written(self, record, details):
        self.written.append(record)
        if len(self.written) == self.most:
            raise KeyboardInterrupt
