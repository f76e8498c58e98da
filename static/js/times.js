// A page whose only live part are its instants, shown in the reader's own time zone.

import { localTimes } from "./format.js";

localTimes(document);
