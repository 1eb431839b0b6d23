//! Asks the outside what is so.
