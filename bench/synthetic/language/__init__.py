"""The built-in language: its words, its grammar, random sentences, rewrites and stories."""
