"""Measuring tools for speed and memory: timing, contention, cores, number formats and measured peaks."""
