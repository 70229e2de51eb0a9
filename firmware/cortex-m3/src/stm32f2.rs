//! Drivers for the STM32F2 family.

pub mod adc1;
pub mod spi3;
pub mod usart1;
pub mod usart2;
pub mod usart3;
