//# allFunctionsCalledOnLoad
import{R as a,S as b,T as c}from"./chunk-UVM2YPKE.js";import"./chunk-YHTG4UHA.js";export{a as Activity,b as Invitations,c as NewProject};
