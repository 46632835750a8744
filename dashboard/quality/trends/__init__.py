"""Trends: any quantity of any element against run or time, with its limits."""
