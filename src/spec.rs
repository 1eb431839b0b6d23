//! YAML text in, valid documents or all of its errors out. Pure.
