//! The registry of methods: a line each. The command line makes subcommands of them, the figures are drawn by name.

/// Calls a macro with the module and type of every method, in the order in which the help names them.
macro_rules! with_every_method {
    ($call:ident) => {
        $call! {
            eval::Eval,
            halt::Halt,
            margin::Margin,
            extrapolate::Extrapolate,
            reach::Reach,
            settle::Settle,
            lens::Lens,
            probe::Probe,
            patch::Patch,
            transplant::Transplant,
            cone::Cone,
            path::PathPatching,
            ablate::Ablate,
            edit::Edit,
            attention::Attention,
            routing::Routing,
            attribute::Attribute,
        }
    };
}

pub(crate) use with_every_method;
