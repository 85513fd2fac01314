//! zkCli: the interactive client.
