;; What `calibrate.rs` times: the loop in which a unit of fuel takes longest, because nothing but the check
;; of the fuel itself is done in it. Ended by its fuel.
(module
  (func (export "tick")
    (loop $again
      (br $again))))
