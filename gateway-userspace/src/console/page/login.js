"use strict";
// Where a link led, for after the login: the way there does not keep it.
if (location.hash) sessionStorage.setItem("cordon-wanted", location.hash);
