//! Upgrade providers: how a member cluster gets new versions.
