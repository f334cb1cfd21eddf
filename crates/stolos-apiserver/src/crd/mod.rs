//! CustomResourceDefinitions: acceptance, publication, removal.
