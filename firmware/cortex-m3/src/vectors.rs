//! The part of the vector table that a chip's interrupts have. Several boards share this crate, so that each program
//! brings its own instead of one that a crate for a chip has.

/// A handler.
type Handler = extern "C" fn();

unsafe extern "C" {
    /// From `cortex-m-rt`: an interrupt that nobody expects panics.
    fn DefaultHandler();
}

/// The vectors of `N` interrupts.
#[repr(transparent)]
pub struct Vectors<const N: usize>([Vector; N]);

/// What the processor takes for an address.
#[derive(Clone, Copy)]
union Vector {
    handler: Handler,
    default: unsafe extern "C" fn(),
}

impl<const N: usize> Vectors<N> {
    /// Vectors to these handlers, each with the number of its interrupt.
    pub const fn new(handlers: &[(usize, Handler)]) -> Self {
        let mut vectors = [Vector { default: DefaultHandler }; N];
        let mut nth = 0;
        while nth < handlers.len() {
            let (interrupt, handler) = handlers[nth];
            vectors[interrupt] = Vector { handler };
            nth += 1;
        }
        Vectors(vectors)
    }
}
