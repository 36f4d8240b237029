"""Signatures of models in the form of OpenSSF Model Signing (OMS): what was signed, and whether by whom it should be.

Bytes in, values out: who reads files and the network is above.  Nothing is believed that a person has not named.
"""
