"""From a permit to a wrapped key: token, broker, keystore, HPKE wrap, and the record that lets anybody check the release again."""
