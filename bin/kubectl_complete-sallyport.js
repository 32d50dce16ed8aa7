#!/usr/bin/env node
// kubectl asks this at every Tab behind `kubectl sallyport`.
process.argv.splice(2, 0, '__complete');
await import('./sallyport.js');
