"""What runs on the attested machine itself: collecting evidence, and opening what was released to it. Never part of verification."""
