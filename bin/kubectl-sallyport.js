#!/usr/bin/env node
// As `kubectl sallyport`: kubectl finds its plugins by this name on the PATH.
await import('./sallyport.js');
