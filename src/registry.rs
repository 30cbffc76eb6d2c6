//! The registry of methods: a line each. The command line makes subcommands of them, the figures are drawn by name.

/// Calls a macro with the types of all methods, in the order in which the help names them.
macro_rules! with_every_method {
    ($call:ident) => {
        $call! {
            Eval,
            Halt,
            Margin,
            Extrapolate,
            Reach,
            Settle,
            Lens,
            Probe,
            Patch,
        }
    };
}

pub(crate) use with_every_method;
