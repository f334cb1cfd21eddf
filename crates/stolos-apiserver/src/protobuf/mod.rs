//! Decodes protobuf request bodies of built-in kinds by table; never encodes.
