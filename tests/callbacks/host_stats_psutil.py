#!/usr/bin/env python3
"""host_stats_psutil.py HOST_STATS: Levin's counters of a process and its host are psutil's, from which Lightning's DeviceStatsMonitor has its.

Run by tools/services-python. Counters only grow: Levin's must lie between psutil's before and after.
"""
import subprocess
import sys
import time

import psutil

TICK = 0.02  # psutil's seconds are whole ticks


def counters(process):
    own, host = process.cpu_times(), psutil.cpu_times()
    everything = sum(host) - host.guest - host.guest_nice  # in user and nice already
    return own.user + own.system, everything - host.idle - host.iowait, everything


def main():
    with subprocess.Popen([sys.argv[1]], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as program:
        def ask():
            program.stdin.write("\n")
            program.stdin.flush()
            return [float(word) for word in program.stdout.readline().split()]

        ask()  # it has started
        process = psutil.Process(program.pid)
        for _ in range(20):
            before = counters(process)
            *found, process_bytes, host_percent, swap_percent = ask()
            after = counters(process)
            for name, low, value, high in zip(("process", "busy", "all"), before, found, after):
                slack = TICK * (psutil.cpu_count() if name != "process" else 1)
                assert low - slack <= value <= high + slack, f"{name} seconds: {value} is not between {low} and {high}"
            rss = process.memory_info().rss
            assert abs(process_bytes - rss) <= 2**20, f"{process_bytes} bytes of the process, psutil: {rss}"
            host = psutil.virtual_memory().percent
            assert abs(host_percent - host) <= 2, f"{host_percent} % of the host's memory, psutil: {host} %"
            swap = psutil.swap_memory().percent
            assert abs(swap_percent - swap) <= 1, f"{swap_percent} % of the swap, psutil: {swap} %"
            time.sleep(0.05)
        program.stdin.close()
    assert program.returncode == 0


main()
