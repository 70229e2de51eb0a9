// Publishes the voltage at analogue input 0 on the channel `level`, and drives pin 13 while it is high.
//
// Settings: `interval-ms`, the time between two readings, a second if absent; `threshold-mv`, from where it is
// high, a volt if absent.
import { ADC, WARN, configNumber, gpioWrite, log, reading, sensorRead, text, timerSet } from "./wasmbed";

// After so many failed readings in a row the input counts as broken.
const TOLERATED_FAILURES = 5;

let thresholdMv = 1000;
let failures = 0;

export function init(): i32 {
  thresholdMv = configNumber("threshold-mv", thresholdMv);
  return timerSet(configNumber("interval-ms", 1000));
}

export function tick(): void {
  if (sensorRead(ADC) < 0) {
    if (failures++ == 0) log(WARN, "no reading");
    return;
  }
  failures = 0;
  gpioWrite(13, reading() >= thresholdMv);
  text.clear();
  text.pushThousandths(reading());
  // A reading that does not get through is followed by the next one.
  text.publish("level");
}

export function health(): i32 {
  return failures < TOLERATED_FAILURES ? 0 : 1;
}
