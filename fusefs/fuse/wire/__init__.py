"""The wire: owns /dev/fuse and stands between the kernel and pyfuse3, which it hands what it does not answer itself.

`messages` knows the bytes, `device` the open file, `attach` how it is mounted, `relay` the way to pyfuse3, `lane` the
threads that answer, `waiters` the event loop's side, `wire` the whole.  Nothing in here knows blobs or caches.
"""
