#!/bin/sh
# Print which Python to make the virtual environment of: one of 3.11 or later that was built to be fast, else any.
# One that was configured without --enable-optimizations takes a quarter more CPU for an instance. A distribution's own
# (/usr) is fast, whatever its configuration says, and a service's user may read it; it needs ensurepip or pip.
new='import sys; sys.exit(sys.version_info < (3, 11))'
fast='import sys, sysconfig; from importlib.util import find_spec as f
built = "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or "") or sys.base_prefix == "/usr"
sys.exit(sys.version_info < (3, 11) or not built or not (f("ensurepip") or f("pip")))'

for probe in "$fast" "$new"; do
    for python in python3 python3.14 python3.13 python3.12 python3.11 \
        /usr/bin/python3 /usr/bin/python3.14 /usr/bin/python3.13 /usr/bin/python3.12 /usr/bin/python3.11; do
        if "$python" -c "$probe" 2>/dev/null; then
            echo "$python"
            exit
        fi
    done
done
