"use strict";(()=>{try{let t=localStorage.getItem("pp.theme");(t==="light"||t==="dark")&&(document.documentElement.dataset.theme=t)}catch{}})();
