//! The one place of Claustrum that names Arti.
