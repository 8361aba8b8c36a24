//! The configuration: one struct per section.
