"""Authentication schemes (RFC 9110 section 11.1)."""

SCHEMES = {
    scheme.lower(): scheme
    for scheme in (
        "AWS4-HMAC-SHA256", "Basic", "Bearer", "Digest", "DPoP", "GNAP", "Hawk", "HOBA", "Mutual", "Negotiate", "NTLM",
        "OAuth", "PrivateToken", "SCRAM-SHA-1", "SCRAM-SHA-256", "vapid",
    )
}  # fmt: skip
"""Lower case -> the scheme. Any other first word of a header value may be the secret itself."""
